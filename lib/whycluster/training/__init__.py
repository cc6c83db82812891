"""Several models of one shape, trained as one: stack, loop, layers, losses, random streams."""
