"""Run every case of torch's own exportdb through the product."""
