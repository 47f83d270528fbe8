"""CapFilt: caption every image of a data set anew, and keep the captions that fit best (BLIP-2, section 3.3)."""
