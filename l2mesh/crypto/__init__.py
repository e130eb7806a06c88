"""l2mesh.crypto"""
