"""One page that shows a run, or two side by side, and the model card; from reports alone."""
