"""Tables over the experiments of a sweep, the generated blocks of the documents, and the repair of DVC's own files."""
