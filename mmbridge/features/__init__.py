"""Features on disk: what a frozen encoder makes of every image, written once and read instead of the encoder."""
