"""Pictures in and out: photos, folders of them, and animations, done as a film without loss and written back."""
