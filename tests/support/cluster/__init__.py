"""The manifests of `deploy/kubernetes` on a container engine, which plays the parts of a cluster that they ask for."""
