"""Where: private runners. Imports nothing, so that the runner program needs no Django."""
