// Runs the cases of one client and prints a JSON line for each: what it saw, or the error that its SDK raised.
//
// Settings come as JSON in CLIENT_CASES: url, key, model, marker, and for the scripts that drive two versions, package.

export const settings = JSON.parse(process.env.CLIENT_CASES);

/** A message that the test provider's account finds again. */
export const say = (text) => `id:${settings.marker} ${text}`;

/** Marks a call in the ledger. */
export const headers = { "x-request-id": settings.marker };

export const PIXEL = Buffer.from([...Array(64).keys()]).toString("base64");
export const CITY_CALL = 'call:get_weather={"city":"São_Paulo"} call:get_time={}';
export const RESULTS = { get_weather: "sunny", get_time: "noon" };

function described(error) {
  return {
    class: error.constructor.name,
    status: error.status ?? error.statusCode ?? null,
    code: error.code ?? error.error?.error?.type ?? null,
    message: String(error.message),
    requestId: error.requestID ?? error.request_id ?? null,
    retryAfter: Boolean(error.headers?.get?.("retry-after") ?? error.responseHeaders?.["retry-after"]),
  };
}

export async function run(cases) {
  for (const [name, play] of Object.entries(cases)) {
    let line;
    try {
      line = { case: name, value: await play() };
    } catch (error) {
      line = { case: name, error: described(error) };
    }
    console.log(JSON.stringify(line));
  }
}
