"""Products with weights that belong to no linear module: fused experts and routers."""
