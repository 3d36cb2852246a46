"""What the project measures about itself, each figure beside its floor in the same run. See bench/README.md."""
