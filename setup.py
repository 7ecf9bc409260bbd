"""What pyproject.toml cannot say: the packages are those of wsn/, and conf/, which is installed as wsn/conf."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["wsn*"]), "wsn.conf"])
