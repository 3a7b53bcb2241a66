"""Read runs and show them."""
