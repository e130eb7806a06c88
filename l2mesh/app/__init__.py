"""l2mesh.app"""
