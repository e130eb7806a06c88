"""l2mesh.lab"""
