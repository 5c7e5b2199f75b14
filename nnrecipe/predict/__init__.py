"""What a trained network says of images in files."""
