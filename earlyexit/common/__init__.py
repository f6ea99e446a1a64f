"""Tools for all packages: files that appear whole, worker processes, errors in one line, Markdown, torchvision."""
