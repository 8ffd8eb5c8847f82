"""How near two domains are, and which intermediate domain may help, before any training."""
