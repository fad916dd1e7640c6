def measure(*a, **k):
    raise SystemExit("not yet")
