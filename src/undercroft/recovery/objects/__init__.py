"""Where the objects of backups lie: a folder, a bucket of an S3-compatible store, a repository of an OCI registry."""
