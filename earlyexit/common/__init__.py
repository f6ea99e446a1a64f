"""What every other package may use: files that appear whole, worker processes, Markdown tables, torchvision."""
