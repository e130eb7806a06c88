"""l2mesh.core"""
