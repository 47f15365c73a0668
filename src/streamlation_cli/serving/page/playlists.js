// HLS playlists as far as our own packager writes them (RFC 8216).

function attributes(text) {
  const found = {};
  for (const [, name, quoted, plain] of text.matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^,]*))/g)) { found[name] = quoted ?? plain; }
  return found;
}

// {uri, codecs, audio: [{name, language, isDefault, uri}]}; the address of each is absolute. A sound without an address of
// its own is that of the variant.
export function parseMaster(text, base) {
  const audio = [];
  let variant = null;
  const lines = text.split("\n").map((line) => line.trim());
  lines.forEach((line, at) => {
    if (line.startsWith("#EXT-X-MEDIA:")) {
      const media = attributes(line.slice(13));
      if (media.TYPE === "AUDIO") {
        audio.push({
          name: media.NAME, language: media.LANGUAGE ?? "", isDefault: media.DEFAULT === "YES",
          uri: media.URI ? new URL(media.URI, base).href : "",
        });
      }
    } else if (line.startsWith("#EXT-X-STREAM-INF:") && !variant) {
      variant = { uri: new URL(lines[at + 1], base).href, codecs: (attributes(line.slice(18)).CODECS ?? "").split(",") };
    }
  });
  return variant && { ...variant, audio };
}

// {target, ended, whole, first, segments: [{number, duration, uri, map, gap}]}; durations in seconds. `whole`: it has everything from the
// beginning, and is to be played from there.
export function parseMedia(text, base) {
  const playlist = { target: 2, ended: false, whole: false, first: 0, segments: [] };
  let map = "";
  let segment = { gap: false, duration: 0 };
  for (const line of text.split("\n").map((one) => one.trim())) {
    if (line.startsWith("#EXT-X-TARGETDURATION:")) { playlist.target = Number(line.slice(22)); }
    else if (line.startsWith("#EXT-X-MEDIA-SEQUENCE:")) { playlist.first = Number(line.slice(22)); }
    else if (line.startsWith("#EXT-X-MAP:")) { map = new URL(attributes(line.slice(11)).URI, base).href; }
    else if (line.startsWith("#EXT-X-PLAYLIST-TYPE:")) { playlist.whole = true; }
    else if (line === "#EXT-X-GAP") { segment.gap = true; }
    else if (line === "#EXT-X-ENDLIST") { playlist.ended = true; }
    else if (line.startsWith("#EXTINF:")) { segment.duration = parseFloat(line.slice(8)); }
    else if (line && !line.startsWith("#")) {
      const number = playlist.first + playlist.segments.length;
      playlist.segments.push({ ...segment, number, uri: new URL(line, base).href, map });
      segment = { gap: false, duration: 0 };
    }
  }
  return playlist;
}
