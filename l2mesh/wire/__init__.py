"""l2mesh.wire"""
