/** The schedule of rho of our own methods: linear, and not from 0, where factors ignore their signs and nothing is decided. */

export const RISING_FROM = 0.05;

/** rho of iteration t of `total`. */
export function risingRho(t: number, total: number): number {
  return RISING_FROM + ((1 - RISING_FROM) * t) / Math.max(1, total - 1);
}
