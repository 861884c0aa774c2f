/** Sources that lie elsewhere: on the Hugging Face Hub or a web server. */
import {
  createHub,
  hubSettings,
  parseRemoteSource,
  pullToCache,
  type Hub,
  type Pulled,
  type RemoteSource,
} from "@subbit/hub";
import type { Context } from "./context.js";

export interface RemoteAccess {
  readonly hub: Hub;
  readonly remote: RemoteSource;
}

/** Settings come from the environment; addresses without encryption are warned of, except on this machine. */
export function remoteAccess(context: Context, source: string): RemoteAccess {
  const settings = hubSettings();
  const remote = parseRemoteSource(source, settings);
  const address = remote.kind === "url" ? remote.folder : new URL(settings.endpoint);
  if (address.protocol === "http:" && !/^(localhost|127\.|\[::1\])/.test(address.host)) {
    context.warn(`${address.host} is read without encryption; who sits in between may send anything.`);
  }
  return { hub: createHub({ settings, signal: context.signal }), remote };
}

/** The model in the cache, downloaded where it is missing. */
export async function pullSource(context: Context, source: string): Promise<Pulled> {
  const { hub, remote } = remoteAccess(context, source);
  const { onProgress } = context;
  const pulled = await pullToCache(hub, remote, {
    onProgress,
    onWarning: (sentence) => context.warn(sentence),
  });
  context.endProgress();
  return pulled;
}
