"""What the user gave: what validation learned of it, and how it is cut into ranges."""
