"""The local index: store, exact search."""
