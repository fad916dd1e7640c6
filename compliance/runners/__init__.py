"""Where else: private runners. Imports nothing, so that the runner program starts where there is no Django."""
