"""Training loops and callbacks for PyKEEN."""
