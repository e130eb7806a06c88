"""l2mesh.shell"""
