"""Data of which tests evaluate little."""

from wsn.data.fashion_mnist import FashionMNISTSmall


class FewTestImages(FashionMNISTSmall):
    """The packaged images, 200 of them for testing."""

    def arrays(self):
        """Return images and classes for training and for testing."""
        images, classes, test_images, test_classes = super().arrays()
        return images, classes, test_images[:200], test_classes[:200]
