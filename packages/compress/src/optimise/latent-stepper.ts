/** What an optimizer of latents is given, whichever it is. */

/** Of one parameter at one step. */
export interface StepScalars {
  /** Step size. */
  readonly rate: number;
  /** Steps of this parameter, this one included: 1, 2 ... */
  readonly time: number;
  readonly beta1: number;
  readonly beta2: number;
  /**
   * Added to the size of each gradient, as a share of the root mean square over the whole array: where gradients are
   * small beside the array's, steps are too. 0 gives Adam, large values momentum with one rate per array.
   */
  readonly floor: number;
  /** Added to the root of the second moment. */
  readonly epsilon: number;
  /** What values are multiplied with before they move: 1 less their decay. */
  readonly keep: number;
  /** Multiplies the gradient: less than 1 where it is clipped. */
  readonly gradientScale: number;
}

/** Arrays of one parameter, all of rows * cols elements, updated in place. */
export interface LatentArrays {
  readonly latents: Float32Array;
  readonly signs: Float32Array;
  /** As many as the optimizer asks for, zero at first. */
  readonly moments: readonly Float32Array[];
  readonly rows: number;
  readonly cols: number;
  /** Tells this parameter from others, where chance plays a part. */
  readonly salt: number;
}

export interface LatentStepper {
  /** Arrays that it keeps beside each parameter. */
  readonly moments: number;
  /**
   * One step. `gradient` is that of the signs, or, where the optimizer was made with `collected`, that of the latents; it
   * is left as it is.
   */
  step(arrays: LatentArrays, gradient: Float32Array, scalars: StepScalars): Promise<void>;
  dispose(): Promise<void>;
}

/** Unit latents further out than this have all but no gradient left; they are kept from running away. */
export const LATENT_LIMIT = 4;
