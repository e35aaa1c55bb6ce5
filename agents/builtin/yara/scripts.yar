/* Scripts and command lines. `threat` says whether a match is one; `points` what it is worth, of a hundred. */

rule encoded_download : powershell {
  meta:
    threat = true
    family = "PowerShell downloader"
    behaviour = "an encoded command that fetches a program from elsewhere"
    points = 45
  strings:
    $a = "iwr http" wide base64
    $b = "Invoke-WebRequest" wide base64
    $c = "DownloadString" wide base64
    $d = "DownloadFile" wide base64
    $e = "Net.WebClient" wide base64
    $f = "Start-BitsTransfer" wide base64
  condition:
    any of them
}

rule download_cradle : powershell {
  meta:
    threat = true
    family = "PowerShell downloader"
    behaviour = "fetches code and runs it without writing it to disk"
    points = 45
  strings:
    $run = /\b(iex|invoke-expression)\b/ nocase
    $fetch = /(new-object\s+(system\.)?net\.webclient|downloadstring\s*\(|invoke-webrequest|\biwr\s+(-uri\s+)?["']?http)/ nocase
  condition:
    $run and $fetch and (@fetch[1] - @run[1] < 300) and (@run[1] - @fetch[1] < 300)
}

rule web_shell_php : webshell {
  meta:
    threat = true
    family = "PHP web shell"
    behaviour = "runs what a request tells it to"
    points = 55
  strings:
    $php = "<?php" nocase
    $short = "<?="
    $run = /\b(eval|assert|system|exec|shell_exec|passthru|popen|proc_open)\s*\(\s*(@?base64_decode\s*\(\s*)?@?\$_(GET|POST|REQUEST|COOKIE|SERVER)\b/ nocase
  condition:
    ($php or $short) and $run
}

rule web_shell_aspx : webshell {
  meta:
    threat = true
    family = "ASPX web shell"
    behaviour = "runs what a request tells it to"
    points = 55
  strings:
    $page = /<%@\s*(page|webhandler)/ nocase
    $run = /\b(eval\s*\(\s*request|process\.start|processstartinfo|cmd\.exe)/ nocase
    $input = /request\s*(\.(item|form|querystring|params))?\s*[\[\(]\s*"/ nocase
  condition:
    $page and $run and $input
}
