"""The raw layout, which every source of photographs is brought into: COCO instances files and zips beside them."""
