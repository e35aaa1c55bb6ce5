"""The least that Django can be: no middleware, two views, the product's database settings. The peer of several benchmarks."""
