"""One training on a device, or on several."""
