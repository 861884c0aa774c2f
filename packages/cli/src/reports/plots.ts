/** Plots as SVG text, made without a browser: vega-lite describes them, vega draws them. Loaded only for a report. */
import type { TopLevelSpec } from "vega-lite";

/** Categorical colours that stay apart for the colour-blind (Okabe and Ito). */
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#999999"];

const CONFIG = {
  font: "system-ui, sans-serif",
  view: { stroke: "transparent" },
  range: { category: COLOURS },
  axis: { grid: true, gridColor: "#e6e6e6", labelFontSize: 12, titleFontSize: 12 },
  legend: { labelFontSize: 12, titleFontSize: 12 },
};

/** A plot whose data stand in `spec.data.values`; nothing is fetched. */
export async function svgOf(spec: TopLevelSpec): Promise<string> {
  const [{ compile }, vega] = await Promise.all([import("vega-lite"), import("vega")]);
  const compiled = compile({ ...spec, config: CONFIG, background: "transparent" });
  const view = new vega.View(vega.parse(compiled.spec), {
    renderer: "none",
    loader: noLoader(vega.loader()),
  });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** A loader that refuses everything: a report never depends on what lies elsewhere. */
function noLoader<L extends object>(loader: L): L {
  const refuse = () => Promise.reject(new Error("Plots hold their own data."));
  return Object.assign(loader, { load: refuse, http: refuse, file: refuse });
}

const SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json";
const WIDTH = 620;

type Row = Readonly<Record<string, string | number>>;

/** One line a series. */
export function linePlot(values: readonly Row[], x: Axis, y: Axis, series: Axis): TopLevelSpec {
  return {
    $schema: SCHEMA,
    width: WIDTH,
    height: 280,
    data: { values: [...values] },
    mark: { type: "line", point: true },
    encoding: {
      x: { field: x.field, type: "quantitative", title: x.title, axis: { tickMinStep: 1 } },
      y: { field: y.field, type: "quantitative", title: y.title, scale: { zero: false } },
      color: { field: series.field, type: "nominal", title: series.title, sort: null },
    },
  };
}

/** Many points as one thin line a series. */
export function curvePlot(values: readonly Row[], x: Axis, y: Axis, series: Axis): TopLevelSpec {
  const plain = linePlot(values, x, y, series);
  return { ...plain, height: 240, mark: { type: "line", strokeWidth: 1.5 } };
}

/** Points, with a line where x and y are equal. */
export function scatterPlot(
  values: readonly Row[],
  x: Axis,
  y: Axis,
  series: Axis,
  size: Axis,
): TopLevelSpec {
  const all = values.flatMap((row) => [Number(row[x.field]), Number(row[y.field])]);
  const ends = [Math.min(...all), Math.max(...all)].map((at) => ({ at }));
  return {
    $schema: SCHEMA,
    width: WIDTH,
    height: 320,
    layer: [
      {
        data: { values: ends },
        mark: { type: "line", color: "#999999", strokeDash: [4, 4] },
        encoding: { x: { field: "at", type: "quantitative" }, y: { field: "at", type: "quantitative" } },
      },
      {
        data: { values: [...values] },
        mark: { type: "point", filled: true, opacity: 0.8 },
        encoding: {
          x: { field: x.field, type: "quantitative", title: x.title, scale: { zero: false } },
          y: { field: y.field, type: "quantitative", title: y.title, scale: { zero: false } },
          color: { field: series.field, type: "nominal", title: series.title, sort: null },
          size: { field: size.field, type: "quantitative", title: size.title, scale: { range: [20, 250] } },
        },
      },
    ],
  };
}

/** Horizontal bars with their values behind them. */
export function barPlot(values: readonly Row[], name: Axis, length: Axis, label: string): TopLevelSpec {
  return {
    $schema: SCHEMA,
    width: WIDTH,
    height: { step: 26 },
    data: { values: [...values] },
    encoding: {
      y: { field: name.field, type: "nominal", title: name.title, sort: null, axis: { grid: false } },
      x: { field: length.field, type: "quantitative", title: length.title },
    },
    layer: [
      { mark: { type: "bar", color: COLOURS[0] } },
      {
        mark: { type: "text", align: "left", dx: 4, fontSize: 12 },
        encoding: { text: { field: label, type: "nominal" } },
      },
    ],
  };
}

export interface Axis {
  readonly field: string;
  readonly title: string;
}
