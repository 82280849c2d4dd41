"""Getting what others publish: files by resumable, verified downloads, archives unpacked, pictures from addresses."""
