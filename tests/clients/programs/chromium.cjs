// Chromium, headless, by Playwright
// needs: apt nodejs/node, apt chromium, apt libnss3-tools/certutil, npm playwright-core
// version: chromium --version
// heavy: it is large
// note: started with `--no-sandbox`, for there are no namespaces inside a sandbox; it trusts whom its own list (`~/.pki/nssdb`) names, into which the gate's authority must be put
const { execFileSync } = require("node:child_process");
const { mkdirSync, readFileSync, writeFileSync } = require("node:fs");
const { X509Certificate } = require("node:crypto");
const { chromium } = require("playwright-core");

function trustTheGate() {
    const all = readFileSync(process.env.SSL_CERT_FILE, "utf8").match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
    const gate = all.find((pem) => new X509Certificate(pem).subject.includes("Postern"));
    const store = `${process.env.HOME}/.pki/nssdb`;
    mkdirSync(store, { recursive: true });
    writeFileSync("gate.pem", gate + "\n");
    execFileSync("certutil", ["-d", `sql:${store}`, "-N", "--empty-password"]);
    execFileSync("certutil", ["-d", `sql:${store}`, "-A", "-t", "C,,", "-n", "gate", "-i", "gate.pem"]);
}

(async () => {
    trustTheGate();
    const browser = await chromium.launch({ executablePath: "/usr/lib/chromium/chromium", args: ["--no-sandbox"] });
    const page = await browser.newPage();
    const answer = await page.goto(process.env.URL + "/hello");
    if (answer.status() === 200) console.log(await page.innerText("body"));
    await browser.close();
    process.exit(answer.status() === 200 ? 0 : 1);
})().catch((error) => { console.error(error.message); process.exit(1); });
