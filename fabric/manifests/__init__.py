"""Files for those who run a program elsewhere, from a placed plan: compose files, Kubernetes manifests. Pure."""
