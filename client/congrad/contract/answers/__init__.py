"""What the routes answer. `wire` has all these models too, among the others of the HTTP contract."""
