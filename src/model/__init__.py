"""Encoders: loaded, checked, and run on a device with a head."""
