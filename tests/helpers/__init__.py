"""What several test files share: scripts as processes, small networks, short trainings, configs, written files."""
