"""Image sets: reading, importing, checking, preparing and splitting them."""
