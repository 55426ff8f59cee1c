"""HTTP as such: problem documents, headers, and limits on what a peer may send."""
