"""From a logged image to exact shares. Knows nothing about money."""
