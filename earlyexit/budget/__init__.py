"""What a network costs on a device, before and after training, held against its flash and SRAM."""
