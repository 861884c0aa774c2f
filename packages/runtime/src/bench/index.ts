/** For `subbit bench` and bench/: not part of the package's interface, and subject to change without notice. */
export { KernelBoard, macsOf, weightBytesOf, type Product } from "./kernel-board.js";
export { benchKernels, KERNEL_SHAPES, type KernelReport, type KernelRow } from "./kernels.js";
export { VectorBound } from "./vector-bound.js";
