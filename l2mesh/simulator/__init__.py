"""l2mesh.simulator"""
