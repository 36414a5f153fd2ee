"""`verify`: is everything in the store what was written?"""
