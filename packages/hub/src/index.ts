export { hubSettings, type HubSettings } from "./settings.js";
export { createHub, type Hub, type HubOptions } from "./hub.js";
export {
  isRemoteSource,
  modelName,
  parseRemoteSource,
  type HubSource,
  type RemoteSource,
  type UrlSource,
} from "./source-name.js";
export type { HttpClientOptions } from "./http/client.js";
export type { RetryPolicy } from "./http/retry.js";
export { pullToCache } from "./cache/pull.js";
export { pullToFolder, type PullFolderOptions } from "./cache/pull-folder.js";
export type { PullOptions, Pulled, PulledFile } from "./cache/types.js";
export { clearCache, listCache, type CacheEntry, type ClearOptions } from "./cache/manage.js";
export { named, openRemote, type OpenRemoteOptions, type RemoteCheckpoint } from "./remote/open-remote.js";
export { pushFolder, type Pushed, type PushOptions } from "./upload/push.js";
