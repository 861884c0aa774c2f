/** What every job of this package works with: settings and a client. */
import { HttpClient, type HttpClientOptions } from "./http/client.js";
import { hubSettings, type HubSettings } from "./settings.js";

export interface Hub {
  readonly settings: HubSettings;
  readonly client: HttpClient;
}

export interface HubOptions extends Pick<HttpClientOptions, "retry" | "connections" | "fetch" | "signal"> {
  /** @default from the environment */
  readonly settings?: HubSettings;
}

export function createHub(options: HubOptions = {}): Hub {
  const { settings = hubSettings(), ...rest } = options;
  return { settings, client: new HttpClient({ ...settings, ...rest }) };
}
